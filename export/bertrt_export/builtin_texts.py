"""Texts of many kinds and languages, for a calibration without texts of one's own."""

from bertrt.tokenizer import TextInput

__all__ = ["BUILTIN_TEXTS"]

_ENGLISH: tuple[TextInput, ...] = (
    # One word, or little more
    "excellent",
    "Refund?",
    "meh",
    "URGENT!!!",
    "thanks",
    "lol",
    "Disappointing.",
    "No.",
    # Reviews
    "The battery lasts two days and the screen is a joy to look at.",
    "Broke after a week. The second one broke after a day.",
    "Honestly the best ramen I have had outside Japan, and the staff are lovely.",
    "The plot wanders, the jokes fall flat, and I still cried at the end.",
    "Decent headphones for the price, though the cable is far too short.",
    "Two hours of my life that I will not get back.",
    "My daughter has read this book eleven times and wants the sequel for her birthday.",
    "Smells of plastic, wobbles on a flat floor, and one screw was missing.",
    "A quiet, generous film that trusts its audience.",
    "Room was clean, breakfast was cold, view was worth every cent!!",
    "Not bad at all, but not what the pictures promised either.",
    "5 stars for the coffee, 1 star for the queue, so let's call it 3.",
    "I wanted to love this vacuum cleaner. It did not love my carpet.",
    "The second season is a mess; the third one almost makes up for it.",
    "Fits perfectly, washes well, and the colour has not faded since March.",
    "Overpriced, overhyped and over-salted.",
    # Support tickets and complaints
    "I have been charged twice for order #48213, please refund one of the payments.",
    "The app crashes every time I open the settings on my tablet (Android 14).",
    "How do I change the e-mail address of my account?",
    "Your driver left the parcel in the rain, and everything inside is soaked.",
    "Password reset link says 'expired' even though I clicked it within a minute.",
    "I cancelled in January, it is April now, and you are still billing me £9.99 a month.",
    "Invoice 2024-0117 lists the wrong VAT number. Could you send a corrected copy?",
    "ERROR 0x80070057: the parameter is incorrect. It happens on each restart.",
    "Nobody has answered my last three messages, so I would like to speak to a manager.",
    "Works again since this morning, you may close the ticket. Thank you for the quick help!",
    "The export button is greyed out for everyone in our team except the owner.",
    "Please delete all the data that you hold about me, and confirm once it is done.",
    "We were promised a technician between 8 and 12; it is 6 p.m. and nobody has come.",
    "Is it possible to move my subscription to another country without losing my history?",
    # Chat
    "omw, be there in 10 😊",
    "did u see the match last night?? unreal",
    "can we move our call to Thursday at half past three?",
    "haha no way, he really said that?",
    "Happy birthday, Priya! 🎉🎂 Hope you have a wonderful day.",
    "sry wrong chat",
    "I'm fine, just tired. Talk tomorrow?",
    "ok but who is bringing the dessert",
    "brb phone is at 2%",
    "Could you send me the slides when you have a minute? No rush.",
    "that's what I thought too, but the manual says otherwise...",
    "Don't forget: milk, eggs, two lemons and something for the cat.",
    # News and headlines
    "Central bank holds interest rates for the fourth month in a row",
    "Storm leaves thousands of homes without power along the coast",
    "Researchers find a beetle that was thought extinct for eighty years",
    "Local bakery wins national prize for its rye bread",
    "Shares of the carmaker fell 7.3% after it cut its forecast for the year.",
    "The city council voted 14 to 9 on Tuesday to turn the old harbour into a park.",
    "Underdogs reach the final after a penalty shoot-out that nobody will forget",
    "New telescope sends its first images of a galaxy 13 billion light years away",
    "Train drivers call off Friday's strike at the last minute",
    "Parliament returns from its summer break to a full agenda and an empty purse.",
    # Questions
    "What is the difference between a crocodile and an alligator?",
    "How long does it take to boil an egg at high altitude?",
    "Why is my sourdough so dense?",
    "Which countries can I visit without a visa?",
    "Does this laptop have a second slot for memory?",
    "Is the jacket waterproof, or only water-resistant?",
    "Can you recommend a museum in Vienna for children under ten?",
    "Who wrote the music for that advert with the dancing bears?",
    "What time does the last ferry leave on Sundays?",
    "Will the blue version be back in stock before Christmas?",
    # Plain statements, instructions, facts
    "Water boils at 100 °C at sea level.",
    "Stir in the flour, a spoonful at a time, until the sauce thickens.",
    "The meeting was adjourned at 17:45 without a decision.",
    "She plays the cello on weekdays and the drums at weekends.",
    "Turn left at the church, then take the second road on your right.",
    "The warranty covers parts and labour for 24 months from the date of purchase.",
    "All visitors must sign in at reception and wear a badge at all times.",
    "Take one tablet twice a day with food, and see a doctor if the pain persists.",
    "def mean(values): return sum(values) / len(values)",
    "Visit https://example.com/help?id=42&lang=en or write to help@example.com.",
    "SELECT name, price FROM products WHERE price < 20 ORDER BY name;",
    "The tenant shall give notice in writing, no later than three months before the term ends.",
    "Up to 70% off all garden furniture, this weekend only: use the code SPRING at checkout!",
    "I disagree with nearly everything in this article, but it is very well argued.",
    "Please keep the discussion on topic and be kind to each other.",
    "This comment has nothing to do with the video.",
    # Long
    "We booked this cottage for a week in early June, mostly because of the garden, and the "
    "garden was every bit as beautiful as in the pictures. The house itself was another story. "
    "The heating did not work on the first two nights, the kitchen had one sharp knife and no "
    "salt, and the promised bicycles turned out to be a single bicycle with a flat tyre. The "
    "owner was friendly and came over at once when we called, so we would perhaps give it another "
    "chance, but not at that price.",
    "Since the update last Wednesday our warehouse scanners lose their connection several times "
    "an hour. We have restarted the access points, changed the channel, and rolled one scanner "
    "back to the older version, which then worked without trouble for the whole day. It therefore "
    "looks to us as if the new version is to blame. There are 40 people here who cannot pick "
    "orders while the scanners are offline, so please treat this as urgent and tell us by noon "
    "whether we should roll back the others as well.",
    "The novel opens with a funeral and ends with a wedding, and in between it covers three "
    "generations, two wars and one very stubborn goat. The author has an ear for the way families "
    "talk past each other, and the chapters in which nothing much happens are the finest in the "
    "book. What it lacks is an editor: a hundred pages could go without anybody missing them, and "
    "the long digression on beekeeping tried my patience. Even so, I closed it with regret, and I "
    "have been thinking about the grandmother ever since.",
    "Scientists who followed more than two thousand garden birds over nine winters report that "
    "the birds now begin to sing almost a week earlier than they did at the start of the study. "
    "Warmer weather explains part of the change, they say, but street lighting appears to matter "
    "just as much: in villages without lamps the shift was only half as large. The team now wants "
    "to find out whether the early singers also raise more young, or whether they merely lose "
    "sleep.",
    "hi, so I ordered the large one in green on monday and got the small one in grey, which is ok "
    "I guess because my sister likes it, but now I still need the large one, and your website "
    "says it is sold out, although the shop in town told me that they have plenty of them?? can I "
    "just pick one up there and pay the difference, or do I have to send the small one back first "
    "and wait for the refund? I need it before the weekend, thanks a lot in advance",
    # Pairs
    ("A woman is slicing an onion.", "Somebody is preparing food."),
    ("The stadium was empty.", "Thousands of fans cheered for the home team."),
    (
        "How can I learn to swim as an adult?",
        "What is the best way for grown-ups to learn to swim?",
    ),
    ("When was the bridge built?", "The bridge, finished in 1932, carries eight lanes of traffic."),
    ("Two dogs run along the beach.", "The dogs belong to a fisherman."),
    ("cheap flights to Lisbon", "Ten tips for finding low fares to Portugal's capital"),
    ("He sold his car to pay for the trip.", "He no longer owns the car."),
    ("The company hired forty engineers last year.", "The company grew."),
    (
        "Does the price include delivery?",
        "Our shops are open from nine to six, Monday to Saturday.",
    ),
    ("All of the cakes were eaten.", "Some of the cakes were left over."),
    ("return an item without the receipt", "Gift cards cannot be exchanged for cash."),
    (
        "The hikers reached the hut just before the storm broke, and spent the night playing cards "
        "by candlelight because the generator had failed.",
        "The hikers were outside during the storm.",
    ),
)

_OTHER_LANGUAGES: tuple[TextInput, ...] = (
    # German
    "Leider passt der Deckel nicht auf den Topf, sonst bin ich sehr zufrieden.",
    "Wann wird meine Bestellung endlich geliefert?",
    "Ein großartiger Film, der bis zur letzten Minute spannend bleibt!",
    "Die Donaudampfschifffahrtsgesellschaft sucht ab sofort einen neuen Kapitän.",
    "Können Sie mir bitte die Rechnung noch einmal schicken?",
    "Nie wieder.",
    "Der Zug fällt heute wegen eines Weichenschadens aus, bitte nehmen Sie den Bus.",
    ("Die Kinder spielen im Garten.", "Es sind Kinder im Freien."),
    # French
    "Le service était lent, mais la soupe à l'oignon valait l'attente.",
    "Je voudrais annuler mon abonnement, s'il vous plaît.",
    "Quel dommage : l'écran s'est fissuré dès le premier jour.",
    "Où se trouve la pharmacie la plus proche ?",
    "Une très belle surprise, je le recommande à toute la famille.",
    "Le gouvernement présentera sa réforme à l'automne.",
    "Bof, rien d'extraordinaire.",
    ("Un homme répare son vélo.", "Personne ne touche au vélo."),
    # Spanish
    "El pedido llegó roto y nadie contesta al teléfono.",
    "¡Qué maravilla de concierto, no quería que terminara!",
    "¿Se puede pagar en efectivo o solo con tarjeta?",
    "La segunda parte es mucho mejor que la primera.",
    "No me funciona la aplicación desde ayer por la noche.",
    "El equipo ganó tres a uno y se mantiene en lo más alto de la tabla.",
    "Regular.",
    ("¿Cómo puedo cambiar mi contraseña?", "He olvidado la clave y quiero poner otra nueva."),
    # Italian
    "La pizza era ottima, peccato per il conto.",
    "Non riesco ad accedere al mio account da tre giorni.",
    "Consegna puntuale e prodotto come descritto, grazie!",
    "A che ora chiude il museo la domenica?",
    "Il libro è scritto bene, ma il finale mi ha deluso.",
    "Domani sono previsti temporali su tutta la costa.",
    ("Una ragazza legge sul treno.", "La ragazza sta guidando."),
    # Portuguese
    "O telefone chegou sem o carregador que estava no anúncio.",
    "Adorei o atendimento, voltarei com certeza.",
    "Qual é o prazo de entrega para Porto Alegre?",
    "O filme é longo demais, mas as atrizes são fantásticas.",
    "Não consigo abrir a fatura em PDF.",
    "A câmara aprovou ontem o novo orçamento para as escolas.",
    ("Chove desde manhã cedo.", "O dia está seco."),
    # Dutch
    "De jas is mooi, maar de rits ging na twee dagen stuk.",
    "Hoe kan ik mijn bestelling terugsturen?",
    "Heerlijk gegeten, wij komen zeker terug.",
    "De trein naar Utrecht vertrekt vandaag van spoor vijf.",
    "Ik wacht al drie weken op antwoord en dat vind ik niet normaal.",
    "Gewoon goed.",
    # Polish
    "Przesyłka dotarła uszkodzona, proszę o zwrot pieniędzy.",
    "Świetna obsługa i bardzo smaczne pierogi.",
    "Czy ten model ma gwarancję na dwa lata?",
    "Film był nudny, prawie zasnąłem w kinie.",
    "Jutro w całym kraju spodziewane są opady śniegu.",
    "Dziękuję, wszystko już działa.",
    # Russian
    "Доставили быстро, но коробка была помята.",
    "Отличный телефон за свои деньги, советую всем.",
    "Почему с моей карты списали деньги два раза?",
    "Сюжет скучный, зато музыка прекрасная.",
    "Завтра в городе перекроют движение из-за марафона.",
    "Спасибо большое, вы мне очень помогли!",
    "Не понравилось.",
    ("Мальчик кормит голубей.", "На площади есть птицы."),
    # Turkish
    "Ürün açıklamadaki gibi değil, iade etmek istiyorum.",
    "Yemekler çok lezzetliydi, garsonlar da güler yüzlüydü.",
    "Kargom ne zaman gelecek?",
    "Uygulama güncellemeden sonra hiç açılmıyor.",
    "Bu akşamki maç yağmur nedeniyle ertelendi.",
    "İdare eder.",
    # Arabic
    "الخدمة ممتازة والطعام لذيذ جدا.",
    "وصل المنتج مكسورا وأريد استرداد المبلغ.",
    "متى يفتح المتجر يوم الجمعة؟",
    "الفيلم طويل لكنه يستحق المشاهدة.",
    "لا أستطيع تسجيل الدخول إلى حسابي منذ أمس.",
    "شكرا جزيلا على المساعدة.",
    # Hindi
    "खाना बहुत स्वादिष्ट था, हम फिर आएँगे।",
    "मेरा ऑर्डर अभी तक नहीं पहुँचा है।",
    "क्या इस फ़ोन में दो सिम लग सकते हैं?",
    "फ़िल्म की कहानी कमज़ोर है, पर गाने अच्छे हैं।",
    "कृपया मेरा पैसा वापस कर दीजिए।",
    "आज शहर में तेज़ बारिश हुई।",
    # Chinese
    "物流很快，包装也很好，下次还会再来。",
    "手机用了三天就坏了，客服一直不回复。",
    "请问这件衣服有大号的吗？",
    "这本书的前半部分很精彩，结尾有点失望。",
    "今天下午北京有雷阵雨，出门请带伞。",
    "一般般。",
    ("他每天骑自行车上班。", "他开车去公司。"),
    # Japanese
    "料理はおいしかったが、待ち時間が長すぎた。",
    "注文した商品がまだ届きません。いつ発送されますか？",
    "音質がとても良くて、買って正解でした！",
    "アプリを更新したら、写真が全部消えてしまいました。",
    "明日の朝は冷え込みが厳しくなるでしょう。",
    "最高。",
    ("犬が公園を走っている。", "動物が外にいる。"),
    # Korean
    "배송이 빠르고 품질도 아주 좋아요.",
    "환불 신청을 했는데 일주일째 답변이 없습니다.",
    "이 제품은 방수가 되나요?",
    "영화가 지루해서 중간에 나왔어요.",
    "내일은 전국에 눈이 내리겠습니다.",
    "그냥 그래요.",
)

BUILTIN_TEXTS = _ENGLISH + _OTHER_LANGUAGES
