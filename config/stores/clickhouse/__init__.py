"""The embedded ClickHouse: `server` is its process, `store` is how it is started."""
