// What the Vercel AI SDK does through Tercet: `vercel_node.mjs SCENARIO`. Its base URL includes /v1.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const load = (name) =>
  import(pathToFileURL(createRequire(`${process.env.NODE_CLIENTS}/package.json`).resolve(name)));
const { generateText, isStepCount, Output, streamText, tool } = await load("ai");
const { createAnthropic } = await load("@ai-sdk/anthropic");
const { z } = await load("zod");

const anthropic = createAnthropic({ baseURL: `${process.env.BASE_URL}/v1`, apiKey: process.env.API_KEY });
const common = { model: anthropic("claude-opus-5-5"), maxOutputTokens: 1000 };

const scenarios = {
  async generate() {
    const { text, usage } = await generateText({ ...common, prompt: "Say hello" });
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
  },

  async stream() {
    const result = streamText({ ...common, prompt: "Tell a short story" });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.ok(text);
    assert.equal(await result.finishReason, "stop");
  },

  async tools() {
    const { text, steps } = await generateText({
      ...common,
      prompt: "What is the weather in Paris?",
      stopWhen: isStepCount(5),
      tools: {
        get_weather: tool({
          description: "The weather at a place",
          inputSchema: z.object({ city: z.string() }),
          execute: async ({ city }) => `18 C in ${city}`,
        }),
      },
    });
    assert.equal(steps.length, 2);
    assert.match(text, /18 C/);
  },

  async object() {
    const { output } = await generateText({
      ...common,
      prompt: "Describe Paris",
      output: Output.object({ schema: z.object({ name: z.string(), population: z.number() }) }),
    });
    assert.equal(typeof output.name, "string");
  },

  // The SDK asks again after any 429, whatever the answer's headers say, unless its caller says not to.
  spent_budget: () => untilRefused({ maxRetries: 0 }),

  spent_budget_by_default: () => untilRefused({}),
};

async function untilRefused(settings) {
  for (let asked = 0; asked < 200; asked += 1) {
    try {
      await generateText({ ...common, ...settings, prompt: "write 300 words" });
    } catch (error) {
      assert.match(String(error.message), /resets/);
      return;
    }
  }
  assert.fail("a spent budget was answered");
}

await scenarios[process.argv[2]]();
