"""Shadowkeep in the training loops of others, each in a module of its own that imports its framework.

- `shadowkeep.integrations.lightning.ShadowkeepEMA`, a callback
- `shadowkeep.integrations.transformers.ShadowkeepCallback`, for `Trainer`
- `shadowkeep.integrations.accelerate.AcceleratedEMA`
"""
