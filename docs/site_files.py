"""MkDocs hook: the site has the repository's layout, so that links hold in both; results tables are made anew."""

from pathlib import Path

from mkdocs.structure.files import File, Files
from results_tables import models_of_pages, with_tables

ROOT = Path(__file__).resolve().parent.parent
PAGES = ('*.md', 'data/*.md', 'docs/**/*.md', 'projects/**/*.md', 'tests/data/**/*.md')
# what pages link to, served as it is
SOURCE_FOLDERS = ('configs', 'detrove', 'projects', 'tests')
SOURCES = ('LICENSE', 'docs/examples/*', 'docs/images/*.*', 'docs/images/papers/*.svg',
           *(f'{folder}/**/*.{end}' for folder in SOURCE_FOLDERS for end in ('py', 'yml')))


def on_files(files, config):
    """Replaces the files below docs/ with those of the repository; the theme's own stay."""
    docs = Path(config.docs_dir)
    kept = [file for file in files if file.src_dir is None or Path(file.src_dir) != docs]
    found = sorted({path.relative_to(ROOT).as_posix() for place in (*PAGES, *SOURCES) for path in ROOT.glob(place)})
    return Files([*kept, *(File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in found)])


def on_page_markdown(markdown, page, config, files):
    """Results tables as the metafiles have them now."""
    name = page.file.src_uri
    models = models_of_pages().get(name)
    return with_tables(markdown, name, models) if models else markdown
