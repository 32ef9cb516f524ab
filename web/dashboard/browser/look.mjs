// Takes a picture of every place, for eyes: node dashboard/browser/look.mjs DIR [name…]
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { start } from "../mock/server.mjs";
import { find, launch } from "./chromium.mjs";
import { places, settled } from "./places.mjs";

const [dir = "pictures", ...wanted] = process.argv.slice(2);
mkdirSync(dir, { recursive: true });
const server = await start();
const fresh = await start({ firstRun: true });
const browser = launch(find());
try {
  const page = await browser.page(server.url);
  await page.until("document.querySelector('#password')");
  const shoot = async (name, hash, ready) => {
    if (wanted.length > 0 && !wanted.includes(name)) return;
    for (const scheme of ["light", "dark"]) {
      await page.scheme(scheme);
      for (const width of [1280, 380]) {
        await page.size(width, 900);
        if (hash) await page.evaluate(`void (location.hash = ${JSON.stringify(hash)})`);
        await page.until(ready, name);
        await new Promise((resolve) => setTimeout(resolve, 350)); // charts come by their own import
        writeFileSync(join(dir, `${name}-${width}-${scheme}.png`), await page.screenshot());
        const wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        if (wide > 0) console.log(`${name} at ${width}: ${wide} px too wide`);
      }
    }
  };
  await shoot("sign-in", "", "document.querySelector('#password')");
  await page.evaluate(`fetch("/dashboard/api/session", {method: "POST", body: JSON.stringify({email: "operator@example.org", password: "password"})}).then(() => location.reload())`);
  await page.until("document.querySelector('.shell')");
  for (const [name, hash] of places()) await shoot(name, hash, settled);
  await page.send("Page.navigate", { url: `${fresh.url}#/first-run/welcome` });
  await shoot("first-run", "", "document.querySelector('#password-hint')");
  await page.evaluate("void (location.hash = '#/overview')");
  await shoot("welcome", "", "document.querySelector('.door .copy')");
  if (page.complaints.length > 0) console.log("complaints:", [...new Set(page.complaints)].join("\n"));
} finally {
  await browser.close();
  await server.close();
  await fresh.close();
}
