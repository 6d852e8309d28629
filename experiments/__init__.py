"""Applications of recurrent networks on real data, one question in each folder."""
