#include "mpathd/mpathctl_editor.hpp"

#include <fmt/format.h>
#include <histedit.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "base/check.hpp"

namespace mpath {
namespace {

constexpr int history_lines_max = 1000;

std::string_view trimmed_end(std::string_view line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  return line;
}

}  // namespace

struct LineEditor::Impl {
  Impl(std::string prompt_text, std::filesystem::path history_path, std::function<KnownNames()> known)
      : prompt(std::move(prompt_text)), history_file(std::move(history_path)), names(std::move(known)) {}

  static Impl& of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }
  static char* show_prompt(EditLine* editor) { return of(editor).prompt.data(); }
  static unsigned char complete_key(EditLine* editor, int /*key*/) { return of(editor).complete(); }

  // Puts in what is certain; when nothing is, lists what there is to choose from.
  unsigned char complete() {
    const LineInfo* info = el_line(editor);
    const std::string before(info->buffer, info->cursor);
    const Completion completion = complete_line(before, names());
    if (!completion.insert.empty()) {
      el_insertstr(editor, completion.insert.c_str());
      return CC_REFRESH;
    }
    if (completion.choices.size() < 2) return CC_REFRESH_BEEP;
    std::fputs(fmt::format("\n{}\n", fmt::join(completion.choices, "  ")).c_str(), stdout);
    return CC_REDISPLAY;
  }

  std::string prompt;
  std::filesystem::path history_file;
  std::function<KnownNames()> names;
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
};

LineEditor::LineEditor(std::string prompt, std::filesystem::path history, std::function<KnownNames()> names)
    : impl_(std::make_unique<Impl>(std::move(prompt), std::move(history), std::move(names))) {
  impl_->editor = el_init("mpathctl", stdin, stdout, stderr);
  impl_->history = history_init();
  CHECK(impl_->editor != nullptr && impl_->history != nullptr);
  el_set(impl_->editor, EL_CLIENTDATA, impl_.get());
  el_set(impl_->editor, EL_PROMPT, &Impl::show_prompt);
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_SIGNAL, 1);
  ::history(impl_->history, &impl_->event, H_SETSIZE, history_lines_max);
  ::history(impl_->history, &impl_->event, H_SETUNIQUE, 1);
  el_set(impl_->editor, EL_HIST, ::history, impl_->history);
  el_set(impl_->editor, EL_ADDFN, "mpathctl-complete", "complete a word", &Impl::complete_key);
  el_set(impl_->editor, EL_BIND, "^I", "mpathctl-complete", nullptr);
  el_source(impl_->editor, nullptr);  // the user's ~/.editrc
  if (!impl_->history_file.empty())
    ::history(impl_->history, &impl_->event, H_LOAD, impl_->history_file.c_str());
}

LineEditor::~LineEditor() {
  if (!impl_->history_file.empty())
    ::history(impl_->history, &impl_->event, H_SAVE, impl_->history_file.c_str());
  history_end(impl_->history);
  el_end(impl_->editor);
}

std::optional<std::string> LineEditor::read() {
  int length = 0;
  const char* line = el_gets(impl_->editor, &length);
  if (line == nullptr || length <= 0) return std::nullopt;
  std::string text(trimmed_end({line, static_cast<std::size_t>(length)}));
  if (!text.empty()) ::history(impl_->history, &impl_->event, H_ENTER, text.c_str());
  return text;
}

}  // namespace mpath
