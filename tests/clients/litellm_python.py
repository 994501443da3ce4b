"""What litellm does as a client of Tercet: `litellm_python.py SCENARIO`."""

import os
import sys

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


globals()[sys.argv[1]]()
