"""What the laptop and the keeper say to each other; pure, standard library only, also copied into the proxy image."""
