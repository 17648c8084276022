"""Cells of one's own, for tests."""

# With products of one side only, a difference, and a memory that is read twice.
ODD = (
    "i = sigmoid(x0 + h0); f = sigmoid(x1 + h1) * tanh(x1 + h1); n = relu(x2) - h4 * i; "
    "c = f * c + 0.5 * tanh(n); h = tanh(c) * sigmoid(x3 + c) - 0.1 * h * i"
)
PLAIN = "h = tanh(x0 + h0)"  # without a memory
BOUNDED = "f = sigmoid(x0 + h0); c = f * c + tanh(x1 + h1) - f * tanh(x2); h = tanh(c) * f"
PRODUCTS_OF_INPUT = "f = sigmoid(x0); h = f * h + tanh(x1) - f * tanh(x1)"  # none of the state
OWN = {"odd": ODD, "plain": PLAIN, "bounded": BOUNDED, "products of the input": PRODUCTS_OF_INPUT}
