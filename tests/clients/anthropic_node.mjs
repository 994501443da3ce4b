// What the official TypeScript SDK does through Tercet: `anthropic_node.mjs SCENARIO`.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const load = (name) =>
  import(pathToFileURL(createRequire(`${process.env.NODE_CLIENTS}/package.json`).resolve(name)));
const { default: Anthropic } = await load("@anthropic-ai/sdk");

const model = "claude-opus-5-5";
const client = new Anthropic({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY });
const textOf = (message) =>
  message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
const weather = {
  name: "get_weather",
  description: "The weather at a place",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

const scenarios = {
  async message() {
    const answer = await client.messages.create({
      model,
      max_tokens: 1000,
      messages: [{ role: "user", content: "Say hello" }],
    });
    assert.ok(textOf(answer));
    assert.ok(answer._request_id);
  },

  async stream() {
    const events = client.messages.stream({
      model,
      max_tokens: 2000,
      messages: [{ role: "user", content: "Tell a short story" }],
    });
    let text = "";
    events.on("text", (piece) => (text += piece));
    const final = await events.finalMessage();
    assert.equal(text, textOf(final));
    assert.equal(final.stop_reason, "end_turn");
  },

  async tools() {
    const messages = [{ role: "user", content: "What is the weather in Paris?" }];
    const first = await client.messages.create({ model, max_tokens: 2000, tools: [weather], messages });
    assert.equal(first.stop_reason, "tool_use");
    const call = first.content.find((block) => block.type === "tool_use");
    messages.push(
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "18 C" }] },
    );
    const second = await client.messages.create({ model, max_tokens: 2000, tools: [weather], messages });
    assert.equal(second.stop_reason, "end_turn");
  },

  async batches() {
    const batch = await client.messages.batches.create({
      requests: [
        { custom_id: "one", params: { model, max_tokens: 100, messages: [{ role: "user", content: "Hi" }] } },
      ],
    });
    const results = [];
    for await (const entry of await client.messages.batches.results(batch.id)) results.push(entry);
    assert.equal(results.length, 1);
    assert.equal(results[0].result.type, "succeeded");
  },

  async models() {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.ok(ids.includes(model));
  },

  async errors() {
    const stranger = new Anthropic({ baseURL: process.env.BASE_URL, apiKey: "nobody" });
    await assert.rejects(
      stranger.messages.create({ model, max_tokens: 9, messages: [{ role: "user", content: "hi" }] }),
      Anthropic.AuthenticationError,
    );
  },

  async spent_budget() {
    await assert.rejects(
      client.messages.create({ model, max_tokens: 100, messages: [{ role: "user", content: "Say hello" }] }),
      (error) => error.status === 429 && /resets/.test(error.message),
    );
  },
};

await scenarios[process.argv[2]]();
