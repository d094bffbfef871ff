"""What is measured against what. Every script prints its own figures; nothing here is a test."""
