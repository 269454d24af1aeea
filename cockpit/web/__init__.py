"""The screen in a browser: `gpt-cockpit serve`."""
