import textwrap

from processes import run_python


def test_without_scikit_learn_the_error_names_the_extra():
    script = """
        import sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "sklearn":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Missing())
        import gpunn
        try:
            import gpunn.sklearn
        except ModuleNotFoundError as error:
            print(error)
        """
    assert "pip install '.[sklearn]'" in run_python("-c", textwrap.dedent(script)).stdout
