"""What the grouped linear layers of a trained DFC network say, and the settings that follow from it."""
