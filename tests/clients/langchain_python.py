"""What langchain-anthropic does through Tercet: `langchain_python.py SCENARIO`."""

import os
import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

MODEL = ChatAnthropic(
    model="claude-opus-5-5",
    max_tokens=1000,
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["API_KEY"],
)


def invoke():
    answer = MODEL.invoke("Say hello")
    assert answer.content, answer
    assert answer.usage_metadata["output_tokens"] > 0, answer


def stream():
    pieces = list(MODEL.stream("Tell a short story"))
    assert len(pieces) > 1, pieces


def tools():
    @tool
    def get_weather(city: str) -> str:
        """The weather at a place."""
        return f"18 C in {city}"

    answer = MODEL.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    assert answer.tool_calls and answer.tool_calls[0]["name"] == "get_weather", answer


globals()[sys.argv[1]]()
