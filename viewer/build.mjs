// Bundles viewer.js with three and Spark into the package: npm ci --ignore-scripts && npm run build
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const assets = new URL("../src/vist3a/export/assets/", import.meta.url);
const result = await build({
  entryPoints: [new URL("viewer.js", import.meta.url).pathname],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  write: false,
  logLevel: "warning",
});
// Level 9 and no time stamp: the same sources give the same bytes.
const packed = gzipSync(result.outputFiles[0].contents, { level: 9 });
writeFileSync(new URL("viewer.js.gz", assets), packed);

const licences = [
  "viewer.js.gz holds viewer/viewer.js of this project (Apache-2.0, see LICENSE) and the following packages.",
];
for (const name of ["three", "@sparkjsdev/spark"]) {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL("package.json", folder)));
  licences.push(`--- ${name} ${version} ---\n\n${readFileSync(new URL("LICENSE", folder), "utf8").trim()}`);
}
writeFileSync(new URL("viewer.LICENCES.txt", assets), licences.join("\n\n") + "\n");
console.log(`viewer.js.gz: ${packed.length} bytes`);
