"""Ask one file a question: python examples/ask_one_file.py README.md "Under which licence is turnout released?" """

import sys

from turnout import Turnout


def main(path: str, question: str, **options: object) -> None:
    with Turnout(**options) as t:
        answer = t.ask(question, [path])
        print(answer.text)
        for citation in answer.citations:
            print(f'  {citation.place}  "{citation.quote}"')
        print(f"  {answer.decision.chosen}, {answer.usage.total_s:.1f} s, {answer.usage.prompt_tokens} prompt tokens")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
