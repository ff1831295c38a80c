"""The API's statements, by what they read or write."""
