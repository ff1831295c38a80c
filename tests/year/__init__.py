"""A simulated year, lived through and delivered in disorder: does every ngonka arrive?"""
