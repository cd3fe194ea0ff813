"""turnout inside LangChain: a chat model, a retriever, a compressor, embeddings, a vector store, a loader and a tool.

    from turnout.langchain import ChatTurnout

    chat = ChatTurnout().bind_documents(["msa.pdf"])
    message = chat.invoke("How long does confidentiality last?")
    print(message.text, message.content_blocks[0]["annotations"], message.response_metadata["decision"])

Names are looked up when they are used: importing this package loads neither a model library nor LangChain's classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it
_PUBLIC = {
    "ChatTurnout": "turnout.langchain.chat",
    "EngineFailure": "turnout.langchain.errors",
    "ForeignEmbedder": "turnout.langchain.embeddings",
    "RequestError": "turnout.langchain.errors",
    "TurnoutCompressor": "turnout.langchain.compressor",
    "TurnoutEmbeddings": "turnout.langchain.embeddings",
    "TurnoutLoader": "turnout.langchain.loader",
    "TurnoutRetriever": "turnout.langchain.retriever",
    "TurnoutVectorStore": "turnout.langchain.vectorstore",
    "UnsupportedError": "turnout.langchain.errors",
    "turnout_tool": "turnout.langchain.tool",
}

__all__ = [
    "ChatTurnout",
    "EngineFailure",
    "ForeignEmbedder",
    "RequestError",
    "TurnoutCompressor",
    "TurnoutEmbeddings",
    "TurnoutLoader",
    "TurnoutRetriever",
    "TurnoutVectorStore",
    "UnsupportedError",
    "turnout_tool",
]

if TYPE_CHECKING:
    from turnout.langchain.chat import ChatTurnout
    from turnout.langchain.compressor import TurnoutCompressor
    from turnout.langchain.embeddings import ForeignEmbedder, TurnoutEmbeddings
    from turnout.langchain.errors import EngineFailure, RequestError, UnsupportedError
    from turnout.langchain.loader import TurnoutLoader
    from turnout.langchain.retriever import TurnoutRetriever
    from turnout.langchain.tool import turnout_tool
    from turnout.langchain.vectorstore import TurnoutVectorStore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'turnout.langchain' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
