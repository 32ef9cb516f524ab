// Builds the dashboard into dist/dashboard. File names under assets/ carry a
// hash of their content: the server lets browsers keep them for ever.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = dirname(fileURLToPath(import.meta.url));

export default defineConfig({
  root: here,
  base: "/dashboard/",
  configFile: false,
  logLevel: "warn",
  plugins: [svelte({ configFile: join(here, "svelte.config.js"), inspector: false })],
  build: {
    outDir: join(here, "..", "dist", "dashboard"),
    emptyOutDir: true,
    target: ["es2022", "chrome105", "firefox110", "safari16"],
    assetsInlineLimit: 0, // nothing inline: the policy of the page forbids it
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/dashboard/api": "http://127.0.0.1:5174" } },
});
