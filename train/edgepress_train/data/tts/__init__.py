"""Speech without recordings: engines that speak, the voices they have, and clips made of them."""
