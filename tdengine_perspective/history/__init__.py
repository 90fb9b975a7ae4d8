"""The look back: any span of time, arranged as on the live side, and computed by TDengine."""
