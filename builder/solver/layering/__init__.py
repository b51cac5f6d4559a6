"""Other layers than one for each step: several steps as one layer, one step as several."""
