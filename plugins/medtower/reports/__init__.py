"""Pages for people: approval, model card, evaluation, performance, drift, demo summary and index."""
