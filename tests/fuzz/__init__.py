"""Random inputs, thousands of them: pytest tests/fuzz -m slow."""
