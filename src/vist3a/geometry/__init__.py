"""Pure geometry on tensors: no state, any batch axes, differentiable unless said otherwise."""
