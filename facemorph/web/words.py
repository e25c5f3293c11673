"""All text of the page, in English and in Korean."""

from dataclasses import dataclass

LANGUAGES = ("en", "ko")

TABLE: dict[str, tuple[str, str]] = {
    "title": ("Two portraits in, a family out", "두 사람의 사진으로 만나는 가족"),
    "subtitle": (
        "Faces that two people's children might have, and the way from one face to the other.",
        "두 사람의 아이일지도 모를 얼굴, 그리고 한 얼굴에서 다른 얼굴로 가는 길.",
    ),
    "other_language": ("한국어", "English"),
    "consent": (
        "Use pictures of people who agreed to it. What you see is a mix of two pictures, not a forecast: nobody's "
        "child is known to look like this.",
        "동의한 사람의 사진만 사용해 주세요. 결과는 두 사진을 섞은 것이며 예측이 아닙니다. 실제 아이의 모습은 아무도 알 수 없습니다.",
    ),
    "privacy": (
        "Pictures stay on this server, in a folder of your own, and are deleted {minutes} minutes after you last used "
        "the page.",
        "사진은 이 서버의 방문자별 폴더에만 보관되며, 마지막으로 사용한 뒤 {minutes}분이 지나면 삭제됩니다.",
    ),
    "forget": ("Delete my pictures now", "내 사진 지금 삭제"),
    "forgotten": ("All that you uploaded and made is deleted.", "올리고 만든 것을 모두 삭제했습니다."),
    "tab_portraits": ("Two portraits", "두 사진"),
    "tab_explore": ("Explore", "탐색"),
    "tab_runs": ("Runs", "학습 기록"),
    "tab_child": ("Child", "아이"),
    "tab_morph": ("Morph", "모핑"),
    # portraits
    "first": ("First parent", "첫째 부모"),
    "second": ("Second parent", "둘째 부모"),
    "drop_first": ("Picture of the first parent", "첫째 부모의 사진"),
    "drop_second": ("Picture of the second parent", "둘째 부모의 사진"),
    "example_first": ("Example: Eileen Collins (NASA)", "예시: 아일린 콜린스 (NASA)"),
    "example_second": ("Example: Grace Hopper (US Navy)", "예시: 그레이스 호퍼 (미 해군)"),
    "no_portrait": (
        "No picture yet: upload one, paste it, use the camera, or take the example.",
        "아직 사진이 없습니다. 올리거나 붙여 넣거나, 카메라를 쓰거나, 예시를 고르세요.",
    ),
    "found_face": ("The face in {name}", "{name}에서 찾은 얼굴"),
    "found_several": ("{name} shows {count} faces. Which one?", "{name}에 얼굴이 {count}개 있습니다. 누구인가요?"),
    "choose": ("Choose the face", "얼굴 고르기"),
    "face_number": ("Face {number}", "얼굴 {number}"),
    "was_turned": ("It lay on its side and was turned.", "옆으로 누워 있어 바로 세웠습니다."),
    "was_upside_down": ("It stood on its head and was turned.", "거꾸로 되어 있어 바로 세웠습니다."),
    "no_face": (
        "No face was found in {name}. A face seen from the front, at least 40 pixels wide, is expected.",
        "{name}에서 얼굴을 찾지 못했습니다. 너비 40픽셀 이상의 정면 얼굴이 필요합니다.",
    ),
    "bad_image": (
        "{name} cannot be used. JPEG, PNG, WebP, TIFF and BMP pictures are read, up to {megapixels} megapixels and "
        "{megabytes} MB.",
        "{name} 파일은 사용할 수 없습니다. {megapixels}메가픽셀, {megabytes}MB 이하의 JPEG, PNG, WebP, TIFF, BMP 사진을 읽습니다.",
    ),
    "your_picture": ("your picture", "올린 사진"),
    "quality": ("How close to the pictures", "사진과 얼마나 닮게"),
    "instant": ("Quick: like relatives", "빠르게: 친척처럼"),
    "fast": ("Closer", "더 닮게"),
    "balanced": ("Closest", "가장 닮게"),
    "go": ("Make the family", "가족 만들기"),
    "need_two": ("Two portraits with a face are needed first.", "먼저 얼굴이 있는 사진 두 장이 필요합니다."),
    # work
    "working_project": ("Looking for both faces in the network", "신경망에서 두 얼굴을 찾는 중"),
    "working_growing": ("Filming the child growing up", "자라는 모습을 만드는 중"),
    "working_film": ("Filming the morph", "모핑 영상을 만드는 중"),
    "working_walk": ("Walking from one person to the other", "한 사람에서 다른 사람으로 걷는 중"),
    "working_evaluate": ("Measuring the run", "학습 결과를 평가하는 중"),
    "waiting": ("In the queue: {place} ahead of you", "대기 중: 앞에 {place}건"),
    "starting": ("Starting", "시작하는 중"),
    "left": ("about {seconds} s left", "약 {seconds}초 남음"),
    "part": ("part {part}", "{part}부"),
    "almost": ("almost done", "거의 끝났습니다"),
    "cancel": ("Stop", "중지"),
    "cancelled": ("Stopped.", "중지했습니다."),
    "failed": ("That did not work: {why}", "실패했습니다: {why}"),
    "bug": ("something went wrong on this server.", "서버에 문제가 생겼습니다."),
    "error_FaceError": ("no face was found.", "얼굴을 찾지 못했습니다."),
    "error_ImageError": ("a picture cannot be read.", "사진을 읽을 수 없습니다."),
    "error_InputError": ("something cannot be used as it is.", "입력을 그대로 사용할 수 없습니다."),
    "error_OutputError": ("the result cannot be written.", "결과를 저장할 수 없습니다."),
    "error_RunError": ("the run cannot do that yet.", "이 학습 기록으로는 아직 할 수 없습니다."),
    "error_WeightsError": ("weights are missing on this server.", "서버에 신경망 가중치가 없습니다."),
    "expired": ("Your pictures have been deleted. Please add them again.", "사진이 삭제되었습니다. 다시 올려 주세요."),
    # child
    "reconstructions": ("As the network draws them", "신경망이 그린 두 사람"),
    "as_photographed": ("{who}, in the picture", "{who}, 사진"),
    "as_drawn": ("{who}, as the network draws", "{who}, 신경망이 그림"),
    "likeness": (
        "descriptor distance {distance:.2f} (below 0.6: one person)",
        "얼굴 특징 거리 {distance:.2f} (0.6 미만이면 같은 사람)",
    ),
    "siblings": ("Their children", "두 사람의 아이들"),
    "child_number": ("Child {number}", "아이 {number}"),
    "child_aged": ("Child {number}, {age:.0f} years", "아이 {number}, {age:.0f}세"),
    "count": ("Children", "아이 수"),
    "age": ("Age in years", "나이"),
    "gender": ("Gender: −1 female, 1 male, 0 as it comes", "성별: −1 여성, 1 남성, 0 그대로"),
    "share": ("Share of the second parent", "둘째 부모를 닮은 정도"),
    "seed": ("Other siblings (seed)", "다른 형제자매 (시드)"),
    "grow": ("Film: growing up", "영상: 자라는 모습"),
    "which_child": ("Which child", "몇째 아이"),
    "growing_title": ("The child from {low:.0f} to {high:.0f} years", "{low:.0f}세부터 {high:.0f}세까지"),
    "downloads": ("Download", "내려받기"),
    "download_sheet": ("The sheet (PNG)", "가족 사진표 (PNG)"),
    "download_zip": ("All images, latents and family.json (ZIP)", "모든 이미지, 잠재 벡터, family.json (ZIP)"),
    "download_json": ("How each was made (JSON)", "만든 방법 (JSON)"),
    "command": ("The same in the command line", "명령줄에서 똑같이"),
    "command_why": (
        "The first line gives exactly these children, from the latents in the ZIP; the second starts from the pictures.",
        "첫 줄은 ZIP 속 잠재 벡터로 똑같은 아이들을 만들고, 둘째 줄은 사진에서 시작합니다.",
    ),
    "nothing_yet": (
        "Add two portraits and press “Make the family”.",
        "사진 두 장을 넣고 “가족 만들기”를 누르세요.",
    ),
    # morph
    "from_to": ("From the first face to the second, %", "첫째 얼굴에서 둘째 얼굴로, %"),
    "by_network": ("Through the generator", "생성기를 통해"),
    "by_landmarks": ("By landmarks (the photographs)", "특징점으로 (사진 자체)"),
    "layers": ("What changes", "무엇을 바꿀지"),
    "coarse": ("Coarse: pose, shape", "큰 특징: 자세, 윤곽"),
    "middle": ("Middle: features", "중간: 이목구비"),
    "fine": ("Fine: colours, skin", "세부: 색, 피부"),
    "make_film": ("Film: GIF and MP4", "영상: GIF와 MP4"),
    "morph_alt": ("{percent} % of the way, {method}", "{percent}% 지점, {method}"),
    "film_title": ("The morph as a film", "모핑 영상"),
    # explore
    "random_faces": ("Faces of nobody", "세상에 없는 얼굴들"),
    "first_seed": ("First seed", "첫 시드"),
    "truncation": ("Truncation: 0 the average, 1 none", "절단: 0 평균 얼굴, 1 없음"),
    "one_face": ("Change one face", "한 얼굴 바꾸기"),
    "face_seed": ("Face (seed)", "얼굴 (시드)"),
    "own_age": ("Change its age", "나이 바꾸기"),
    "unnamed": ("Direction {number} of the network", "신경망의 방향 {number}"),
    "style_mix": ("Mix two faces by layers", "두 얼굴을 층별로 섞기"),
    "mix_first": ("Face A (seed)", "얼굴 A (시드)"),
    "mix_second": ("Face B (seed)", "얼굴 B (시드)"),
    "mix_layers": ("From face B", "얼굴 B에서 가져올 것"),
    "mixed": ("A with B's layers", "B의 층을 섞은 A"),
    "seed_number": ("Seed {seed}", "시드 {seed}"),
    # runs
    "no_runs": (
        "No run is shown here. Whoever starts the page names trained runs: <code>facemorph web --run run/</code>",
        "표시할 학습 기록이 없습니다. 서버를 시작할 때 지정하세요: <code>facemorph web --run run/</code>",
    ),
    "run": ("Run", "학습"),
    "losses": ("Losses and verdict", "손실과 판정"),
    "verdict": ("Loss verdict", "손실 판정"),
    "stable": ("stable", "안정"),
    "unstable": ("failed", "실패"),
    "undecided": ("undecided", "미정"),
    "steps_done": ("{steps} steps", "{steps}단계"),
    "samples": ("Generated faces", "생성한 얼굴"),
    "newest_grid": ("Its newest grid, of step {step}: no weights are saved yet.", "{step}단계의 표본입니다. 아직 저장된 가중치가 없습니다."),
    "other_samples": ("Seed", "시드"),
    "walk": ("Walk: from one to the other", "걷기: 한 사람에서 다른 사람으로"),
    "evaluation": ("Evaluation", "평가"),
    "evaluate": ("Evaluate (about a minute)", "평가하기 (약 1분)"),
    "no_evaluation": ("Not evaluated yet.", "아직 평가하지 않았습니다."),
    "live": ("Refreshed every few seconds while it trains.", "학습하는 동안 몇 초마다 새로 고칩니다."),
    "measure": ("Measure", "항목"),
    "value": ("Value", "값"),
    "m_frechet": ("Frechet distance of faces, descriptors", "얼굴 특징의 프레셰 거리"),
    "m_seen": ("A face is detected", "얼굴이 검출됨"),
    "m_near": ("Nearer than 0.6 to a person", "실제 인물과 0.6 이내"),
    "m_diversity": ("Diversity, relative to the real faces", "실제 얼굴 대비 다양성"),
    "m_copies": ("Nearer than 95 % of real faces (copies)", "실제 얼굴의 95%보다 가까움 (복사)"),
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """The text in one language; `words("key", name=...)` is a line of it."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        text = TABLE[key][LANGUAGES.index(self.language)]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        return key in TABLE


def preferred(accept_language: str) -> str:
    """The language of `LANGUAGES` that a browser's Accept-Language puts first; English where it names neither."""
    best, chosen = 0.0, "en"
    for part in accept_language[:200].split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        language = tag.split("-")[0].lower()
        if language in LANGUAGES and weight > best:
            best, chosen = weight, language
    return chosen
