"""How well does a recurrent encoder-decoder with attention translate German captions?"""
