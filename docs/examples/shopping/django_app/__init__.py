"""The application: `views` for browsers, `realtime` for Fairlead, and `permissions` for both."""
