"""The HTTP face of a deployment: OpenAI's API over the workers that discovery finds."""
