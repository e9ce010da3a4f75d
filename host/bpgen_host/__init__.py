"""The serial host tool: streams samples to a board and reads back what it learned."""
