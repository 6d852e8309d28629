"""Operations with derivative rules of their own, for every transformation of JAX."""
