// Shows one scene: Gaussians, points, input cameras, depth, and the video that they were decoded with.
// The page (src/vist3a/export/assets/viewer.html) holds the scene as JSON; nothing is fetched.
import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";

const scene3d = JSON.parse(document.getElementById("scene").textContent);
const [HEIGHT, WIDTH] = scene3d.size;
const VIEWS = scene3d.cameras.length;
const $ = (id) => document.getElementById(id);

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

// World axes of the files are those of OpenCV, of three.js those of OpenGL: half a turn around x.
const TURN = new THREE.Matrix4().makeScale(1, -1, -1);

/** Pose (camera to world, axes of three.js) of a camera of the file. */
function poseOf({ world_to_camera }) {
  const matrix = new THREE.Matrix4().set(...world_to_camera.flat()).invert();
  matrix.premultiply(TURN).multiply(TURN);
  const pose = { position: new THREE.Vector3(), quaternion: new THREE.Quaternion() };
  matrix.decompose(pose.position, pose.quaternion, new THREE.Vector3());
  return pose;
}
const poses = scene3d.cameras.map(poseOf);

/** The camera of the fractional view `time`: pose between its neighbours, intrinsics of the nearest. */
function placeCamera(camera, time) {
  const low = Math.min(Math.floor(time), VIEWS - 1);
  const high = Math.min(low + 1, VIEWS - 1);
  camera.position.lerpVectors(poses[low].position, poses[high].position, time - low);
  camera.quaternion.slerpQuaternions(poses[low].quaternion, poses[high].quaternion, time - low);
}

/** The whole input image fits into the canvas. */
function fitLens(camera, view, width, height) {
  const { intrinsics } = scene3d.cameras[view];
  const tall = (HEIGHT / intrinsics[1][1]) * Math.max(1, WIDTH / HEIGHT / (width / height));
  camera.aspect = width / height;
  camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(tall / 2));
  camera.updateProjectionMatrix();
}

/** Exactly the pinhole of a camera of the file, for pictures that are compared with those of other renderers. */
function exactLens(camera, { intrinsics }) {
  const [[fx, , cx], [, fy, cy]] = intrinsics;
  const near = camera.near;
  const left = (-cx / fx) * near;
  const top = (cy / fy) * near;
  camera.projectionMatrix.makePerspective(
    left, left + (WIDTH / fx) * near, top, top - (HEIGHT / fy) * near, near, camera.far);
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
}

function pointCloud({ count, low, high, positions, colors }) {
  const grid = new Uint16Array(bytes(positions).buffer);
  const place = new Float32Array(3 * count);
  for (let i = 0; i < 3 * count; i++) place[i] = low[i % 3] + (grid[i] / 65535) * (high[i % 3] - low[i % 3]);
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(place, 3));
  const linear = new Float32Array(3 * count);
  const color = new THREE.Color();
  const rgb = bytes(colors);
  for (let i = 0; i < count; i++) {
    color.setRGB(rgb[3 * i] / 255, rgb[3 * i + 1] / 255, rgb[3 * i + 2] / 255, THREE.SRGBColorSpace);
    color.toArray(linear, 3 * i);
  }
  geometry.setAttribute("color", new THREE.BufferAttribute(linear, 3));
  // About a pixel of the input image wide at the depth of the scene.
  const size = (1.2 * scene3d.pivot_depth) / scene3d.cameras[0].intrinsics[1][1];
  return new THREE.Points(geometry, new THREE.PointsMaterial({ size, vertexColors: true }));
}

function cameraFrames() {
  const group = new THREE.Group();
  const reach = 0.06 * scene3d.pivot_depth;
  const places = [];
  scene3d.cameras.forEach(({ intrinsics }, view) => {
    const [[fx, , cx], [, fy, cy]] = intrinsics;
    const corner = (u, v) => new THREE.Vector3(((u - cx) / fx) * reach, ((cy - v) / fy) * reach, -reach);
    const ring = [corner(0, 0), corner(WIDTH, 0), corner(WIDTH, HEIGHT), corner(0, HEIGHT)];
    const tip = new THREE.Vector3();
    const lines = ring.flatMap((point, i) => [tip, point, point, ring[(i + 1) % 4]]);
    const geometry = new THREE.BufferGeometry().setFromPoints(lines);
    const color = new THREE.Color().setHSL(0.6 - (0.5 * view) / Math.max(1, VIEWS - 1), 0.9, 0.5);
    const frustum = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color }));
    frustum.position.copy(poses[view].position);
    frustum.quaternion.copy(poses[view].quaternion);
    group.add(frustum);
    places.push(poses[view].position);
  });
  const path = new THREE.BufferGeometry().setFromPoints(places);
  group.add(new THREE.Line(path, new THREE.LineBasicMaterial({ color: 0x64748b })));
  return group;
}

async function main() {
  const canvas = $("canvas");
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
  renderer.setClearColor(0xffffff, 1);
  const world = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(50, 1, 0.01 * scene3d.pivot_depth, 1000 * scene3d.pivot_depth);
  // The blur of the original renderer: 0.3 squared pixels, opacity unchanged; nearest in z-depth first.
  const spark = new SparkRenderer({ renderer, preBlurAmount: 0.3, blurAmount: 0, sortRadial: false, maxStdDev: 3.3 });
  world.add(spark);

  const layers = { cameras: cameraFrames(), points: pointCloud(scene3d.points) };
  layers.points.applyMatrix4(TURN);
  if (scene3d.splats) {
    layers.splats = new SplatMesh({ fileBytes: bytes(scene3d.splats), fileType: "spz" });
    await layers.splats.initialized;
  }
  for (const [name, layer] of Object.entries(layers)) {
    world.add(layer);
    $(`show-${name}`).addEventListener("change", () => update());
  }
  if (!layers.splats) {
    $("show-splats").disabled = true;
    $("show-points").checked = true;
  }

  const controls = new OrbitControls(camera, canvas);
  controls.enableDamping = true;
  const video = $("video");
  const slider = $("view");
  const follow = $("follow");
  slider.max = VIEWS - 1;
  const depth = new Image();
  depth.src = scene3d.depth.sheet;
  await depth.decode();
  let dirty = true;

  function drawDepth(view) {
    const { columns, height, width } = scene3d.depth;
    const paper = $("depth");
    [paper.width, paper.height] = [width, height];
    const from = [(view % columns) * width, Math.floor(view / columns) * height];
    paper.getContext("2d").drawImage(depth, ...from, width, height, 0, 0, width, height);
  }

  function lookAhead() {
    const ahead = new THREE.Vector3(0, 0, -scene3d.pivot_depth).applyQuaternion(camera.quaternion);
    controls.target.copy(camera.position).add(ahead);
  }

  /** Slider, depth, number and, when it follows, the camera go to the fractional view `time`. */
  function goTo(time) {
    const view = Math.round(time);
    slider.value = view;
    $("number").textContent = `view ${view + 1} of ${VIEWS}`;
    drawDepth(view);
    if (follow.checked) {
      placeCamera(camera, time);
      fitLens(camera, view, canvas.clientWidth, canvas.clientHeight);
      lookAhead();
    }
    dirty = true;
  }

  function update() {
    for (const [name, layer] of Object.entries(layers)) layer.visible = $(`show-${name}`).checked;
    dirty = true;
  }

  function resize() {
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
    fitLens(camera, Number(slider.value), canvas.clientWidth, canvas.clientHeight);
    dirty = true;
  }

  const videoTime = () => Math.min(VIEWS - 1, Math.max(0, video.currentTime * scene3d.fps - 0.5));
  slider.addEventListener("input", () => {
    video.pause();
    follow.checked = true;
    video.currentTime = (Number(slider.value) + 0.5) / scene3d.fps;
    goTo(Number(slider.value));
  });
  $("play").addEventListener("click", () => {
    follow.checked = true;
    if (video.paused) video.play();
    else video.pause();
  });
  video.addEventListener("play", () => ($("play").textContent = "Pause"));
  video.addEventListener("pause", () => ($("play").textContent = "Play"));
  follow.addEventListener("change", () => goTo(Number(slider.value)));
  controls.addEventListener("start", () => (follow.checked = false));
  controls.addEventListener("change", () => (dirty = true));
  spark.onDirty = () => (dirty = true);
  new ResizeObserver(resize).observe(canvas);

  let busy = false;
  renderer.setAnimationLoop(() => {
    if (busy) return;
    if (!video.paused) goTo(videoTime());
    if (!follow.checked) controls.update();
    if (!dirty) return;
    dirty = false;
    renderer.render(world, camera);
  });

  /**
   * PNG (data URL) of the visible layers at the pinhole of `seen`, `scale` times the size of the input: the number of an input
   * view, or a camera from anywhere else as the file has them, `{world_to_camera, intrinsics}`.
   */
  async function snapshot(seen, scale = 1) {
    busy = true;
    const pinhole = typeof seen === "number" ? scene3d.cameras[seen] : seen;
    const lens = new THREE.PerspectiveCamera(50, WIDTH / HEIGHT, camera.near, camera.far);
    const { position, quaternion } = poseOf(pinhole);
    lens.position.copy(position);
    lens.quaternion.copy(quaternion);
    lens.updateMatrixWorld();
    exactLens(lens, pinhole);
    renderer.setPixelRatio(1);
    renderer.setSize(WIDTH * scale, HEIGHT * scale, false);
    // Sorting is done by a worker: until the order is that of this camera.
    for (let i = 0; i < 3; i++) {
      await spark.update({ scene: world, camera: lens });
      while (spark.sorting || spark.sortDirty) await new Promise((done) => setTimeout(done, 5));
      renderer.render(world, lens);
    }
    const picture = canvas.toDataURL("image/png");
    resize();
    busy = false;
    return picture;
  }

  update();
  resize();
  goTo(0);
  $("status").remove();
  window.vist3a = { snapshot, layers, show: (name, on) => { $(`show-${name}`).checked = on; update(); } };
}

main().catch((error) => {
  $("status").textContent = `The scene cannot be shown: ${error.message}`;
  throw error;
});
