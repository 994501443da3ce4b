// Opens pages of the dashboard in Chromium and prints, as JSON, how many milliseconds after the navigation's start each was
// first painted. Reads ADMIN_URL, PAGES, ROUNDS and MODULES.
import { mkdtempSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(join(process.env.MODULES, "package.json"));
const { chromium } = require("playwright-core");

const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "tercet-paint-")), {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = context.pages()[0] ?? (await context.newPage());
const painted = () =>
  new Promise((resolve) => {
    new PerformanceObserver((list) => {
      const first = list.getEntriesByName("first-contentful-paint")[0];
      if (first) resolve(first.startTime);
    }).observe({ type: "paint", buffered: true });
  });
const found = {};
for (let round = 0; round < Number(process.env.ROUNDS); round += 1) {
  for (const path of process.env.PAGES.split(" ")) {
    await page.goto(process.env.ADMIN_URL + path);
    (found[path] ??= []).push(await page.evaluate(painted));
  }
}
await context.close();
console.log(JSON.stringify(found));
