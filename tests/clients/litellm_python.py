"""What litellm does as a client of Tercet: `litellm_python.py SCENARIO`."""

import os
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download of prices when it is imported

import litellm

litellm.telemetry = False
COMMON = {
    "model": "anthropic/claude-opus-5-5",
    "api_base": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Say hello"}],
}


def completion():
    answer = litellm.completion(**COMMON)
    assert answer.choices[0].message.content, answer
    assert answer.usage.completion_tokens > 0, answer.usage


def stream():
    pieces = [piece.choices[0].delta.content or "" for piece in litellm.completion(stream=True, **COMMON)]
    assert "".join(pieces), pieces


def tools():
    weather = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather at a place",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = litellm.completion(**{**COMMON, "messages": messages, "tools": [weather]}).choices[0].message
    assert first.tool_calls and first.tool_calls[0].function.name == "get_weather", first
    messages += [first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "18 C"}]
    second = litellm.completion(**{**COMMON, "messages": messages, "tools": [weather]}).choices[0].message
    assert not second.tool_calls and "18 C" in second.content, second


def spent_budget():
    for _ in range(200):
        begun = time.monotonic()
        try:
            litellm.completion(**{**COMMON, "messages": [{"role": "user", "content": "write 300 words"}]})
        except litellm.RateLimitError as error:
            assert "resets" in str(error), error
            assert time.monotonic() - begun < 5, "it waited before it gave up"
            return
    raise AssertionError("a spent budget was answered")


globals()[sys.argv[1]]()
