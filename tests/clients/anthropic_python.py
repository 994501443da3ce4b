"""What the official Python SDK does through Tercet: `anthropic_python.py SCENARIO`.

Reads BASE_URL and API_KEY; exits 0 where everything an application relies on came back.
"""

import asyncio
import os
import sys

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


def tool_runner():
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather at a place.

        Args:
            city: The name of the city.
        """
        return f"18 C in {city}"

    runner = CLIENT.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=2000,
        tools=[get_weather],
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
    )
    final = runner.until_done()
    assert final.stop_reason == "end_turn" and text_of(final), final


def thread():
    conversation = CLIENT.beta.messages.thread(model=MODEL, max_tokens=1000)
    first = conversation.send({"role": "user", "content": "Remember the word tercet"})
    second = conversation.send({"role": "user", "content": "Which word was it?"})
    assert first.id != second.id and text_of(second), second


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
    """The budget is spent: the SDK must stop at once, with the reset in the message."""
    try:
        CLIENT.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Say hello"}])
    except anthropic.APIStatusError as error:
        assert error.status_code == 429 and "resets" in error.message, error
        assert error.response.headers["x-should-retry"] == "false"
        return
    raise AssertionError("a spent budget was answered")


globals()[sys.argv[1]]()
