"""What the official Python SDK does through Tercet: `anthropic_python.py SCENARIO`.

Reads BASE_URL and API_KEY; exits 0 where everything an application relies on came back.
"""

import asyncio
import os
import sys
import time

import anthropic
import pydantic

MODEL = "claude-opus-5-5"
CLIENT = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=2)
WEATHER = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def message():
    answer = CLIENT.messages.create(
        model=MODEL, max_tokens=1000, messages=[{"role": "user", "content": "Say hello"}]
    )
    assert answer.type == "message" and answer.role == "assistant", answer
    assert text_of(answer), answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer.usage
    assert answer._request_id, "request-id is gone"


def message_async():
    async def run():
        client = anthropic.AsyncAnthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
        answers = await asyncio.gather(
            *(
                client.messages.create(
                    model=MODEL, max_tokens=500, messages=[{"role": "user", "content": f"Say {word}"}]
                )
                for word in ("one", "two", "three", "four")
            )
        )
        assert all(text_of(answer) for answer in answers), answers

    asyncio.run(run())


def stream():
    with CLIENT.messages.stream(
        model=MODEL, max_tokens=2000, messages=[{"role": "user", "content": "Tell a short story"}]
    ) as events:
        pieces = list(events.text_stream)
        final = events.get_final_message()
    assert "".join(pieces) == text_of(final), "the stream and the final message differ"
    assert final.stop_reason == "end_turn", final
    assert final.usage.output_tokens > 0, final.usage


def redacted():
    """What never left comes back in the answers, and the conversation goes on with it."""
    asked = [{"role": "user", "content": "Write to ada@acme.io"}]
    options = {"model": MODEL, "max_tokens": 4000, "thinking": {"type": "adaptive"}}
    first = CLIENT.messages.create(messages=asked, **options)
    assert "wrote to ada@acme.io." in text_of(first), first
    asked += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "And again"}]
    with CLIENT.messages.stream(messages=asked, **options) as events:
        pieces = list(events.text_stream)
        final = events.get_final_message()
    assert "".join(pieces) == text_of(final), "the stream and the final message differ"
    assert "wrote to ada@acme.io." in text_of(final), final
    asked += [{"role": "assistant", "content": final.content}, {"role": "user", "content": "Thanks"}]
    assert text_of(CLIENT.messages.create(messages=asked, **options))


def either_form():
    """With the cache on: a message made of kept events, and events made of a kept message."""
    for place, first_streams in [("Paris", True), ("Rome", False)]:
        asked = {
            "model": MODEL,
            "max_tokens": 2000,
            "tools": [WEATHER],
            "messages": [{"role": "user", "content": f"What is the weather in {place}?"}],
        }

        def streamed():
            with CLIENT.messages.stream(**asked) as events:
                return events.get_final_message()

        def whole():
            return CLIENT.messages.create(**asked)

        first, second = [streamed(), whole()] if first_streams else [whole(), streamed()]
        messages = [answer.model_dump(mode="json", exclude_none=True) for answer in (first, second)]
        assert messages[0] == messages[1], messages
        assert first.stop_reason == "tool_use" and first.content[-1].input, first


def stream_async():
    async def run():
        client = anthropic.AsyncAnthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
        async with client.messages.stream(
            model=MODEL, max_tokens=2000, messages=[{"role": "user", "content": "Tell a short story"}]
        ) as events:
            pieces = [piece async for piece in events.text_stream]
            final = await events.get_final_message()
        assert "".join(pieces) == text_of(final)

    asyncio.run(run())


def stream_events():
    """The raw events, as applications read them that do without the helper."""
    events = CLIENT.messages.create(
        model=MODEL, max_tokens=2000, stream=True, messages=[{"role": "user", "content": "Tell a short story"}]
    )
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    assert "content_block_delta" in kinds, kinds


def stream_tools():
    with CLIENT.messages.stream(
        model=MODEL,
        max_tokens=2000,
        tools=[WEATHER],
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
    ) as events:
        kinds = {event.type for event in events}
        final = events.get_final_message()
    assert "input_json" in kinds, kinds
    call = next(block for block in final.content if block.type == "tool_use")
    assert isinstance(call.input["city"], str), call


def forced_tool():
    answer = CLIENT.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=500,
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather"},
        messages=[{"role": "user", "content": "Paris"}],
    )
    assert answer.stop_reason == "tool_use" and answer.content[-1].name == "get_weather", answer


def tools():
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = CLIENT.messages.create(model=MODEL, max_tokens=2000, tools=[WEATHER], messages=messages)
    assert first.stop_reason == "tool_use", first
    call = next(block for block in first.content if block.type == "tool_use")
    assert call.name == "get_weather" and isinstance(call.input["city"], str), call
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 C, sunny"}]},
    ]
    second = CLIENT.messages.create(model=MODEL, max_tokens=2000, tools=[WEATHER], messages=messages)
    assert second.stop_reason == "end_turn" and text_of(second), second


def conversation():
    messages = []
    for question in ("What is two and two?", "And twice that?", "Thank you"):
        messages.append({"role": "user", "content": question})
        answer = CLIENT.messages.create(
            model=MODEL, max_tokens=2000, thinking={"type": "adaptive"}, messages=messages
        )
        assert any(block.type == "thinking" for block in answer.content), answer
        messages.append({"role": "assistant", "content": answer.content})


def cached_prompt():
    """The second turn reads what the first one wrote, so both went to the same model."""
    system = [
        {"type": "text", "text": "A verse of three lines. " * 3000, "cache_control": {"type": "ephemeral"}}
    ]
    messages = [{"role": "user", "content": "Say hello"}]
    first = CLIENT.messages.create(model=MODEL, max_tokens=500, system=system, messages=messages)
    assert first.usage.cache_creation_input_tokens > 0, first.usage
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "Say goodbye"}]
    second = CLIENT.messages.create(model=MODEL, max_tokens=500, system=system, messages=messages)
    assert second.usage.cache_read_input_tokens > 0, second.usage
    assert first.model == second.model, (first.model, second.model)


@anthropic.beta_tool
def get_weather(city: str) -> str:
    """The weather at a place.

    Args:
        city: The name of the city.
    """
    return f"18 C in {city}"


RUNNER = {
    "model": MODEL,
    "max_tokens": 2000,
    "tools": [get_weather],
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
}


def assert_ran(final):
    assert final.stop_reason == "end_turn" and "18 C" in text_of(final), final


def tool_runner():
    assert_ran(CLIENT.beta.messages.tool_runner(**RUNNER).until_done())


def tool_runner_stream():
    for events in CLIENT.beta.messages.tool_runner(stream=True, **RUNNER):
        final = events.get_final_message()
    assert_ran(final)


def tool_runner_unthreaded():
    assert_ran(CLIENT.beta.messages.tool_runner(thread=False, **RUNNER).until_done())


def tool_runner_async():
    @anthropic.beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather at a place."""
        return f"18 C in {city}"

    async def run():
        client = anthropic.AsyncAnthropic(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
        assert_ran(await client.beta.messages.tool_runner(**{**RUNNER, "tools": [get_weather]}).until_done())

    asyncio.run(run())


def thread():
    conversation = CLIENT.beta.messages.thread(model=MODEL, max_tokens=1000)
    first = conversation.send({"role": "user", "content": "Remember the word tercet"})
    second = conversation.send({"role": "user", "content": "Which word was it?"})
    assert first.id != second.id and text_of(second), second
    assert conversation.previous_message_id == second.id, "the thread was given up"
    with conversation.stream({"role": "user", "content": "Say it again"}) as events:
        third = events.get_final_message()
    assert conversation.previous_message_id == third.id, "the thread was given up"
    assert first.model == second.model == third.model, "a thread's model must not change"


def structured_output():
    class City(pydantic.BaseModel):
        name: str
        population: int

    answer = CLIENT.messages.parse(
        model=MODEL,
        max_tokens=1000,
        messages=[{"role": "user", "content": "Describe Paris"}],
        output_format=City,
    )
    assert isinstance(answer.parsed_output, City), answer


def batches():
    batch = CLIENT.messages.batches.create(
        requests=[
            {
                "custom_id": f"item-{number}",
                "params": {
                    "model": MODEL if number else "haiku",
                    "max_tokens": 500,
                    "messages": [{"role": "user", "content": f"Say {number}"}],
                },
            }
            for number in range(3)
        ]
    )
    again = CLIENT.messages.batches.retrieve(batch.id)
    assert again.id == batch.id and again.processing_status == "ended", again
    assert again.results_url.startswith(os.environ["BASE_URL"]), again.results_url
    results = {entry.custom_id: entry.result for entry in CLIENT.messages.batches.results(batch.id)}
    assert len(results) == 3 and all(result.type == "succeeded" for result in results.values()), results
    assert results["item-0"].message.model.startswith("claude-haiku"), results["item-0"]
    assert [entry.id for entry in CLIENT.messages.batches.list()] == [batch.id]
    CLIENT.messages.batches.delete(batch.id)


def files():
    made = CLIENT.beta.files.upload(file=("notes.txt", b"tercets have three lines", "text/plain"))
    assert CLIENT.beta.files.retrieve_metadata(made.id).filename == "notes.txt"
    assert [entry.id for entry in CLIENT.beta.files.list()] == [made.id]
    CLIENT.beta.files.delete(made.id)
    try:
        CLIENT.beta.files.retrieve_metadata("file_of_somebody_else")
        raise AssertionError("a foreign file was answered")
    except anthropic.NotFoundError:
        pass


def models():
    ids = [model.id for model in CLIENT.models.list(limit=1000)]
    assert MODEL in ids and "claude-tercet-auto" in ids, ids
    assert CLIENT.models.retrieve(MODEL).id == MODEL


def count_tokens():
    counted = CLIENT.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Say hello"}])
    assert counted.input_tokens > 0, counted


def aliases():
    for alias, prefix in (
        ("haiku", "claude-haiku"),
        ("sonnet", "claude-sonnet"),
        ("opus", "claude-opus"),
        ("tercet-auto", "claude-"),
        ("claude-tercet-auto", "claude-"),
    ):
        hello = [{"role": "user", "content": "Say hello"}]
        answer = CLIENT.messages.create(model=alias, max_tokens=500, messages=hello)
        assert answer.model.startswith(prefix), (alias, answer.model)
        assert CLIENT.messages.count_tokens(model=alias, messages=hello).input_tokens > 0


def raw_response():
    raw = CLIENT.messages.with_raw_response.create(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "Say hello"}]
    )
    assert raw.headers["x-tercet-model"] == raw.parse().model, raw.headers
    assert raw.headers["x-tercet-reason"] and raw.headers["request-id"], raw.headers


def own_limits():
    """Reads what is left of the caller's own limits and budget, answered and refused."""
    hello = [{"role": "user", "content": "Say hello"}]
    asked = {"model": MODEL, "max_tokens": 50, "messages": hello}
    raw = CLIENT.messages.with_raw_response.create(**asked)
    assert raw.parse().id, raw.headers
    for kind, limit in (("requests", 2), ("input-tokens", 100_000), ("output-tokens", 20_000), ("tokens", 120_000)):
        group = {name: raw.headers[f"anthropic-ratelimit-{kind}-{name}"] for name in ("limit", "remaining", "reset")}
        assert int(group["limit"]) == limit and 0 < int(group["remaining"]) < limit, group
        assert group["reset"].endswith("Z"), group
    unified = {
        name: raw.headers[f"anthropic-ratelimit-unified-{name}"]
        for name in ("status", "reset", "representative-claim", "spend-status", "spend-utilization", "spend-reset")
    }
    assert unified["status"] == "allowed" and unified["representative-claim"] == "monthly_budget", unified
    assert 0 <= float(unified["spend-utilization"]) < 1 and int(unified["reset"]) > time.time(), unified
    strict = CLIENT.with_options(max_retries=0)
    for _ in range(5):
        try:
            strict.messages.create(**asked)
        except anthropic.RateLimitError as error:
            headers = error.response.headers
            assert headers["anthropic-ratelimit-requests-remaining"] == "0", headers
            assert 1 <= int(headers["retry-after"]) <= 60, headers
            assert "anthropic-ratelimit-unified-representative-claim" not in headers, headers
            return
    raise AssertionError("five requests within a limit of two a minute")


def errors():
    hello = [{"role": "user", "content": "hello"}]
    stranger = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key="nobody")
    for expected, call in (
        (anthropic.AuthenticationError, lambda: stranger.messages.create(model=MODEL, max_tokens=9, messages=hello)),
        (anthropic.NotFoundError, lambda: CLIENT.messages.create(model="claude-9", max_tokens=9, messages=hello)),
        (anthropic.BadRequestError, lambda: CLIENT.messages.create(model=MODEL, max_tokens=-1, messages=hello)),
        (
            anthropic.BadRequestError,
            lambda: CLIENT.messages.create(model=MODEL, max_tokens=9, messages=hello, extra_body={"surprise": 1}),
        ),
    ):
        try:
            call()
        except expected as error:
            assert error.request_id, error
            continue
        raise AssertionError(f"expected {expected}")


def retries():
    """The upstream was told to answer 529 twice: the SDK's third attempt succeeds."""
    answer = CLIENT.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Say hello"}]
    )
    assert answer.stop_reason, answer


def spent_budget():
    """Asks until the budget is spent: the SDK must stop at once, with the reset in the message."""
    for _ in range(200):
        begun = time.monotonic()
        try:
            CLIENT.messages.create(
                model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "write 300 words"}]
            )
        except anthropic.RateLimitError as error:
            assert error.status_code == 429 and "resets" in error.message, error
            assert error.body["error"]["type"] == "billing_error", error.body
            assert error.response.headers["x-should-retry"] == "false", error.response.headers
            assert int(error.response.headers["retry-after"]) > 0, error.response.headers
            assert time.monotonic() - begun < 5, "it waited before it gave up"
            return
    raise AssertionError("a spent budget was answered")


globals()[sys.argv[1]]()
