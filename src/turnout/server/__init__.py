"""turnout as a service: an OpenAI-compatible server with a library (docs/server.md), and the tools of MCP."""
