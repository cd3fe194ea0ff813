"""An agent that asks two documents: python examples/agent.py MODEL FIRST SECOND QUESTION

MODEL calls the tools, named as LangChain names it, for example "ollama:qwen3:8b" with langchain-ollama installed. The
documents are read by turnout's own model.
"""

import sys
from typing import Any

from langchain.agents import create_agent

from turnout import Turnout
from turnout.langchain import turnout_tool

PROMPT = "Answer from the documents alone. Ask the tool one thing at a time, and name the place of what you found."


def main(model: Any, first: str, second: str, question: str, **options: Any) -> str:
    with Turnout(**options) as t:
        tool = turnout_tool([first, second], turnout=t)
        agent = create_agent(model, [tool], system_prompt=PROMPT)
        for step in agent.stream({"messages": [("user", question)]}, stream_mode="values"):
            step["messages"][-1].pretty_print()
    return str(step["messages"][-1].text)


if __name__ == "__main__":
    main(*sys.argv[1:5])
