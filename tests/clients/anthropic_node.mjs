// What the official TypeScript SDK does through Tercet: `anthropic_node.mjs SCENARIO`.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const load = (name) =>
  import(pathToFileURL(createRequire(`${process.env.NODE_CLIENTS}/package.json`).resolve(name)));
const { default: Anthropic, toFile } = await load("@anthropic-ai/sdk");
const { betaZodTool } = await load("@anthropic-ai/sdk/helpers/beta/zod");
const { zodOutputFormat } = await load("@anthropic-ai/sdk/helpers/zod");
const { z } = await load("zod");

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

  // With the cache on: a message made of kept events, and events made of a kept message.
  async eitherForm() {
    for (const [place, firstStreams] of [["Paris", true], ["Rome", false]]) {
      const messages = [{ role: "user", content: `What is the weather in ${place}?` }];
      const asked = { model, max_tokens: 2000, tools: [weather], messages };
      const streamed = () => client.messages.stream(asked).finalMessage();
      const whole = () => client.messages.create(asked);
      const first = await (firstStreams ? streamed() : whole());
      const second = await (firstStreams ? whole() : streamed());
      const plain = (message) => JSON.parse(JSON.stringify(message, (_, value) => value ?? undefined));
      assert.deepEqual(plain(first), plain(second));
      assert.equal(first.stop_reason, "tool_use");
    }
  },

  async streamEvents() {
    const events = await client.messages.create({
      model,
      max_tokens: 2000,
      stream: true,
      messages: [{ role: "user", content: "Tell a short story" }],
    });
    const kinds = [];
    for await (const event of events) kinds.push(event.type);
    assert.equal(kinds[0], "message_start");
    assert.equal(kinds.at(-1), "message_stop");
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

  async toolRunner() {
    const getWeather = betaZodTool({
      name: "get_weather",
      description: "The weather at a place",
      inputSchema: z.object({ city: z.string() }),
      run: ({ city }) => `18 C in ${city}`,
    });
    const final = await client.beta.messages.toolRunner({
      model,
      max_tokens: 2000,
      tools: [getWeather],
      messages: [{ role: "user", content: "What is the weather in Paris?" }],
    });
    assert.equal(final.stop_reason, "end_turn");
    assert.match(textOf(final), /18 C/);
  },

  async thread() {
    const thread = client.beta.messages.thread({ model, max_tokens: 1000 });
    const first = await thread.send({ role: "user", content: "Remember the word tercet" });
    const second = await thread.send({ role: "user", content: "Which word was it?" });
    assert.notEqual(first.id, second.id);
    assert.equal(thread.previousMessageId, second.id);
    assert.equal(first.model, second.model);
  },

  async structuredOutput() {
    const answer = await client.messages.parse({
      model,
      max_tokens: 1000,
      messages: [{ role: "user", content: "Describe Paris" }],
      output_config: { format: zodOutputFormat(z.object({ name: z.string(), population: z.int() })) },
    });
    assert.equal(typeof answer.parsed_output.name, "string");
  },

  async files() {
    const file = await toFile(Buffer.from("tercets have three lines"), "notes.txt", { type: "text/plain" });
    const made = await client.beta.files.upload({ file });
    const ids = [];
    for await (const entry of client.beta.files.list()) ids.push(entry.id);
    assert.deepEqual(ids, [made.id]);
    await client.beta.files.delete(made.id);
    await assert.rejects(client.beta.files.retrieveMetadata(made.id), Anthropic.NotFoundError);
  },

  async countTokens() {
    const counted = await client.messages.countTokens({ model, messages: [{ role: "user", content: "Say hello" }] });
    assert.ok(counted.input_tokens > 0);
  },

  async retries() {
    const answer = await client.messages.create({
      model,
      max_tokens: 100,
      messages: [{ role: "user", content: "Say hello" }],
    });
    assert.ok(answer.stop_reason);
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
    for (let asked = 0; asked < 200; asked += 1) {
      const begun = Date.now();
      try {
        await client.messages.create({
          model,
          max_tokens: 500,
          messages: [{ role: "user", content: "write 300 words" }],
        });
      } catch (error) {
        assert.ok(error instanceof Anthropic.RateLimitError, String(error));
        assert.match(error.message, /resets/);
        assert.equal(error.headers.get("x-should-retry"), "false");
        assert.ok(Date.now() - begun < 5000, "it waited before it gave up");
        return;
      }
    }
    assert.fail("a spent budget was answered");
  },
};

await scenarios[process.argv[2]]();
