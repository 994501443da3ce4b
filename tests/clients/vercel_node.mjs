// What the Vercel AI SDK does through Tercet: `vercel_node.mjs SCENARIO`. Its base URL includes /v1.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const load = (name) =>
  import(pathToFileURL(createRequire(`${process.env.NODE_CLIENTS}/package.json`).resolve(name)));
const { generateText, streamText } = await load("ai");
const { createAnthropic } = await load("@ai-sdk/anthropic");

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
  },
};

await scenarios[process.argv[2]]();
