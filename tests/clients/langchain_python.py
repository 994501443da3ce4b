"""What langchain-anthropic does through Tercet: `langchain_python.py SCENARIO`."""

import os
import sys
import time

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

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

    model = MODEL.bind_tools([get_weather])
    messages = [HumanMessage("What is the weather in Paris?")]
    answer = model.invoke(messages)
    assert answer.tool_calls and answer.tool_calls[0]["name"] == "get_weather", answer
    messages += [answer, get_weather.invoke(answer.tool_calls[0])]
    final = model.invoke(messages)
    assert not final.tool_calls and "18 C" in final.text, final


def structured_output():
    class City(BaseModel):
        """A city."""

        name: str
        population: int

    answer = MODEL.with_structured_output(City, method="json_schema").invoke("Describe Paris")
    assert isinstance(answer, City), answer


def spent_budget():
    for _ in range(200):
        begun = time.monotonic()
        try:
            MODEL.invoke("write 300 words")
        except Exception as error:
            assert "resets" in str(error), error
            assert time.monotonic() - begun < 5, "it waited before it gave up"
            return
    raise AssertionError("a spent budget was answered")


globals()[sys.argv[1]]()
