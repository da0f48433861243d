"""Rows that a program makes: articles, paragraphs, questions and answers in Arabic, and which are kept."""
