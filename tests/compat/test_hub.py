"""Configs of mmseg by `mmseg::` where only its onedl distribution is installed."""


def test_mmseg_config_is_found_and_nothing_is_installed(run_python):
    """In a process of its own, as mmengine decides once; pip is made to fail."""
    result = run_python('''
        import subprocess
        import detrove
        from mmengine.hub import get_config
        subprocess.check_call = subprocess.call = subprocess.run = None
        print(get_config('mmseg::psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py').model.type)
    ''')
    assert result.stdout.split()[-1] == 'EncoderDecoder'
