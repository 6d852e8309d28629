"""How well does a recurrent network predict the next chord of a Bach chorale?"""
