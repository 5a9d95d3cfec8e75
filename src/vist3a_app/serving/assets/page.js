// The page of `vist3a serve`: asks for scenes, tells how far they are, and shows what is finished. All addresses are relative and
// of this server; whatever people wrote is set as text, never as HTML.

const BUSY = 400; // milliseconds between two looks at the queue while something is in it
const IDLE = 4000;
const ENDED = new Set(["done", "failed", "cancelled"]);

const find = (id) => document.getElementById(id);
const mine = new Set(); // jobs that this page has asked for
const told = new Map(); // the last state of every job
const rows = new Map(); // what stands in the list, by job
let shown = null; // name of the scene that is open
let timer = null;

function element(kind, properties = {}, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

// JSON of an answer; an Error with the server's sentence for a refusal.
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new Error("the server does not answer");
  }
  const content = answer.status === 204 ? {} : await answer.json();
  // The page asks one thing at a time; that it is in row 0 helps nobody.
  if (!answer.ok) throw Object.assign(new Error(content.message.replace(/^row 0: /, "")), { status: answer.status });
  return content;
}

const path = (name, ...parts) => ["scenes", name, ...parts.flatMap((part) => part.split("/"))].map(encodeURIComponent).join("/");
const say = (error) => { find("refusal").textContent = error ? error.message : ""; };

// ---- the queue

async function submit(event) {
  event.preventDefault();
  const seed = find("seed").value.trim();
  // Numbers of JavaScript are too small for every seed of 64 bits: the digits go as they are. The server refuses all else.
  const written = seed === "" ? "null" : /^-?\d+$/.test(seed) ? String(BigInt(seed)) : JSON.stringify(seed);
  find("generate").disabled = true;
  try {
    const { jobs } = await ask("jobs", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: `{"prompt": ${JSON.stringify(find("prompt").value)}, "seed": ${written}}`,
    });
    jobs.forEach((job) => mine.add(job.id));
    say();
    look();
  } catch (error) {
    say(error);
  }
  find("generate").disabled = false;
}

function describe(job) {
  if (job.state === "waiting") return `waiting, place ${job.place}`;
  if (job.state === "failed") return `failed: ${job.message}`;
  if (job.state !== "running") return job.state;
  if (job.cancelling) return "cancelling";
  return job.step < job.steps ? `step ${job.step} of ${job.steps}` : "decoding and writing files";
}

function row(job) {
  if (!rows.has(job.id)) {
    const bar = element("progress", { value: 0 });
    const state = element("span", { className: "state" });
    const cancel = element("button", { type: "button", className: "cancel", textContent: "Cancel" });
    cancel.onclick = () => ask(`jobs/${job.id}`, { method: "DELETE" }).then(look, say);
    const item = element("li", {}, element("span", { className: "prompt", textContent: job.prompt }), bar, state, cancel);
    rows.set(job.id, { item, bar, state, cancel });
  }
  // Changed, not made anew: a button must stay the same between press and release.
  const { item, bar, state, cancel } = rows.get(job.id);
  item.dataset.state = job.state;
  bar.hidden = job.state !== "running";
  Object.assign(bar, { max: job.steps, value: job.step });
  state.textContent = describe(job);
  state.className = `state ${job.state}`;
  cancel.hidden = ENDED.has(job.state) || job.cancelling || (job.state === "running" && job.step === job.steps);
  return item;
}

async function look() {
  clearTimeout(timer);
  let wait = IDLE;
  try {
    const { jobs } = await ask("jobs");
    // Scenes are in the gallery; of what went wrong everyone sees their own.
    const listed = jobs.filter((job) => !ENDED.has(job.state) || (job.state !== "done" && mine.has(job.id)));
    const items = listed.map(row);
    if (items.length !== find("jobs").children.length || items.some((item, place) => find("jobs").children[place] !== item)) {
      find("jobs").replaceChildren(...items);
    }
    const ended = jobs.filter((job) => job.state === "done" && told.get(job.id) !== "done");
    told.clear();
    jobs.forEach((job) => told.set(job.id, job.state));
    for (const id of rows.keys()) if (!told.has(id)) rows.delete(id);
    if (ended.length) await refresh();
    const last = ended.filter((job) => mine.has(job.id)).pop();
    if (last) await show(last.scene);
    if (jobs.some((job) => !ENDED.has(job.state))) wait = BUSY;
  } catch (error) {
    say(error);
  }
  clearTimeout(timer);
  timer = setTimeout(look, wait);
}

// ---- finished scenes

async function refresh() {
  const { scenes } = await ask("scenes");
  find("none").hidden = scenes.length > 0;
  find("gallery").replaceChildren(...scenes.map((scene) => {
    const picture = element("img", { src: path(scene.name, "images/0000.png"), alt: "", loading: "lazy" });
    const button = element("button", { type: "button" }, picture, scene.prompt);
    button.dataset.name = scene.name;
    button.onclick = () => show(scene.name).then(() => find("scene").scrollIntoView({ behavior: "smooth" }), say);
    return element("li", {}, button);
  }));
  mark();
}

function mark() {
  for (const button of find("gallery").querySelectorAll("button")) {
    button.classList.toggle("shown", button.dataset.name === shown);
  }
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

async function show(name) {
  const scene = await ask(path(name));
  shown = name;
  find("title").textContent = scene.prompt;
  const viewer = path(name, "viewer.html");
  find("view").replaceChildren(scene.viewer
    ? element("iframe", { src: viewer, title: "Viewer" })
    : element("img", { src: path(name, "scene.png"), alt: "Views of the scene" }));
  Object.assign(find("whole"), { href: viewer, hidden: !scene.viewer });
  find("archive").href = `archives/${encodeURIComponent(name)}.zip`;
  // Pictures of every view are in the archive.
  const files = Object.entries(scene.files).filter(([file]) => !file.includes("/"));
  find("files").replaceChildren(...files.map(([file, bytes]) =>
    element("li", {}, element("a", { href: path(name, file), download: `${name}-${file}`, textContent: `${file} (${size(bytes)})` }))));
  find("scene").hidden = false;
  mark();
}

async function remove() {
  if (!confirm(`Delete the scene "${find("title").textContent}" with all of its files?`)) return;
  try {
    await ask(path(shown), { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) return say(error);
  }
  shown = null;
  find("scene").hidden = true;
  find("view").replaceChildren();
  await refresh();
}

find("ask").addEventListener("submit", submit);
find("dice").onclick = () => { find("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]); };
find("delete").onclick = () => remove().catch(say);
refresh().catch(say);
look();
