// Gathers into dist/ what the binary embeds. Swagger UI comes ready made from
// its package: only the files that the documentation page asks for are copied.
// The realtime client is compiled into realtime/build.
import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const { resolve } = createRequire(import.meta.url);
const swagger = dirname(resolve("swagger-ui-dist/package.json"));

for (const name of await mkdir(dist, { recursive: true }).then(() => readdir(dist))) {
  if (name !== ".gitkeep") await rm(join(dist, name), { recursive: true });
}
const docs = join(dist, "docs");
await mkdir(docs);
for (const name of ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "LICENSE", "NOTICE"]) {
  const to = name.includes(".") ? name : `${name}.txt`;
  await copyFile(join(swagger, name), join(docs, to));
}

await rm(join(here, "realtime", "build"), { recursive: true, force: true });
execFileSync(process.execPath, [resolve("typescript/bin/tsc"), "-p", join(here, "realtime")], { stdio: "inherit" });

// The dashboard: pages of Svelte, and the licences of what ends up in them.
const { build } = await import("vite");
await build({ ...(await import("./dashboard/build.config.mjs")).default, configFile: false });
const licences = await Promise.all(["svelte/LICENSE.md", "uplot/LICENSE"].map((name) => readFile(join(here, "node_modules", name), "utf8").then((text) => `${dirname(name)}\n\n${text}`)));
await writeFile(join(dist, "dashboard", "LICENSES.txt"), licences.join("\n\n"));
