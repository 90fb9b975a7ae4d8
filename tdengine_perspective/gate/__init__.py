"""The gate: what a viewer may ask, from where, and how much.

Perspective's engine trusts its clients: any of them may change the tables, and a malformed request ends the
process. So each frame is parsed (`protocol`), refused unless a reader needs it and the engine bears it
(`rules`, `expressions`), and handed on serialised anew, within limits for each viewer (`sessions`,
`websocket`). `admission` decides who may connect at all.
"""
