"""The one way out of a RUN step: what it connects to is limited, listed, recorded, or answered from a record."""
