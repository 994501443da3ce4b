// Opens pages of the dashboard in Chromium, checks them with axe, and fills in a form with the keyboard alone.
// Reads ADMIN_URL, and SCREENSHOTS (a folder) where pictures are wanted; prints what was found as JSON.
import { mkdtempSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(join(process.env.MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

const base = process.env.ADMIN_URL;
const found = { violations: [], widths: [], steps: [] };
const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "tercet-axe-")), {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = context.pages()[0] ?? (await context.newPage());
page.on("dialog", (dialog) => { found.violations.push(`a dialog opened: ${dialog.message()}`); dialog.dismiss(); });

for (const scheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme: scheme });
  for (const path of process.env.PAGES.split(" ")) {
    await page.setViewportSize({ width: 1280, height: 900 });
    const answer = await page.goto(base + path);
    if (answer.status() !== 200) found.violations.push(`${path}: ${answer.status()}`);
    await page.evaluate(axe);
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const result = await page.evaluate((tags) => axe.run(document, { runOnly: tags }), tags);
    for (const { id, nodes } of result.violations) {
      found.violations.push(`${scheme} ${path}: ${id}: ${nodes.map((node) => node.html).join(" | ").slice(0, 400)}`);
    }
    if (process.env.SCREENSHOTS) {
      const name = `${path.replaceAll(/[^a-z]+/gi, "-").replace(/^-|-$/g, "") || "today"}-${scheme}.png`;
      await page.screenshot({ path: join(process.env.SCREENSHOTS, name), fullPage: true });
    }
    await page.setViewportSize({ width: 320, height: 640 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > 320) found.widths.push(`${path}: ${wide}`);
  }
}

// By keyboard alone: another daily budget for a tenant, with the question in between.
await page.setViewportSize({ width: 1280, height: 900 });
await page.goto(`${base}/tenants/acme`);
const focusOn = async (wanted) => {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const { id, textContent } = document.activeElement;
      return [id, textContent.trim()];
    });
    if (here.includes(wanted)) return;
  }
  throw new Error(`the keyboard does not reach ${wanted}`);
};
await focusOn("budget.daily");
await page.keyboard.type("12.00 USD");
await page.keyboard.press("Enter");
await page.waitForSelector("table.differences");
found.steps.push(await page.textContent("table.differences tbody"));
await focusOn("Confirm");
await page.keyboard.press("Enter");
await page.waitForURL(`${base}/tenants/acme`);
found.steps.push(await page.inputValue("[id='budget.daily']"));
await context.close();
console.log(JSON.stringify(found));
