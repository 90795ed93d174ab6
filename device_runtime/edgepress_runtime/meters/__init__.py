"""Power and energy, as what is built into or wired to this board tells it; nothing is ever estimated."""
