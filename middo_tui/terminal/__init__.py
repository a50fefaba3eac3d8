"""What goes to the terminal and what comes from it: cleaned, paced, and never twice."""
